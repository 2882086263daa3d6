"""Runs another program of this folder where ``prefactor-api`` is the name of the API's host."""

import json
import os
import runpy
import socket
import sys
from pathlib import Path

NAME = "prefactor-api"
look_up = socket.getaddrinfo


def getaddrinfo(host, *args, **kwargs):
    return look_up("127.0.0.1" if host == NAME else host, *args, **kwargs)


if __name__ == "__main__":
    socket.getaddrinfo = getaddrinfo
    os.environ["PREFACTOR_API_URL"] = os.environ["PREFACTOR_API_URL"].replace("127.0.0.1", NAME)
    options = json.loads(sys.argv[1])
    program = options.pop("inside")
    sys.argv[1] = json.dumps(options)
    runpy.run_path(str(Path(__file__).with_name(program)), run_name="__main__")
