#!/bin/sh
# Prints a greeting from the step that runs this.
echo "Hello from $1, built on $(uname -m)."
