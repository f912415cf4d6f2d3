"""Run the command `python -m lzu_benchmarks.train.camvid`."""

from lzu_benchmarks.train.camvid.command import main

if __name__ == "__main__":
    main()
