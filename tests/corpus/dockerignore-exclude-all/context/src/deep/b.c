src/deep/b.c
