"""What runs as `trident` and `python -m trident`: Ctrl-C counts from the first moment, while the rest is imported."""

import sys

INTERRUPTED = 130  # as typer exits on Ctrl-C: 128 + SIGINT


def main() -> None:
    """Run the command line."""
    try:
        from trident.cli import main as run
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
    run()


if __name__ == "__main__":
    main()
