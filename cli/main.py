"""Where the command `atlas` begins: what holds from its first line on, before any command is imported.

Exit codes: 0 done; 1 a defect of this program; 2 wrong usage, config, data or file; 3 no preflight certificate, as a
gate does not pass or the one that is there does not hold; 4 training is not sound: a kill switch stopped it, or it
ended worse than it began; 5 another process of the run has ended or does not answer; 128 + n after signal n, with a
checkpoint of the step reached where a model trains: 130 Ctrl-C, 143 SIGTERM, 129 SIGHUP, 138 SIGUSR1, 140 SIGUSR2; 141
nobody reads the output any more.
"""

import os

try:
    from cli.interrupt import at_any_moment
    from cli.streams import standard_streams
except KeyboardInterrupt:
    os._exit(130)


def main() -> None:
    """Run the command line."""
    with at_any_moment(), standard_streams():
        from cli.app import run

        run()


if __name__ == "__main__":
    main()
