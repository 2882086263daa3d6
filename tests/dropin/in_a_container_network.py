"""Runs another program of this folder with ``prefactor-api`` as the host name of the API."""

import json
import os
import runpy
import socket
import sys
from pathlib import Path

NAME = "prefactor-api"
original_getaddrinfo = socket.getaddrinfo


def getaddrinfo(host, *args, **kwargs):
    return original_getaddrinfo("127.0.0.1" if host == NAME else host, *args, **kwargs)


if __name__ == "__main__":
    socket.getaddrinfo = getaddrinfo
    os.environ["PREFACTOR_API_URL"] = os.environ["PREFACTOR_API_URL"].replace("127.0.0.1", NAME)
    options = json.loads(sys.argv[1])
    program = options.pop("inside")
    sys.argv[1] = json.dumps(options)
    runpy.run_path(str(Path(__file__).with_name(program)), run_name="__main__")
