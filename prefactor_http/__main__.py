"""``python -m prefactor_http`` runs the command ``prefactor-http``."""

from prefactor_http.cli import main

if __name__ == "__main__":
    main()
