"""`python -m lastsam.cli`, where the `lastsam` script is not on the path."""

from lastsam.cli import main

main()
