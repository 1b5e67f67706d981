"""`python -m lastsam.cli`: the same as `python -m lastsam`, where the script is not on the path."""

from lastsam.__main__ import main

main()
