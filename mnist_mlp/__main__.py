"""`python -m mnist_mlp`."""

from mnist_mlp.cli import main

if __name__ == "__main__":
    main()
