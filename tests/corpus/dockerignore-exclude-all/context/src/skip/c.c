src/skip/c.c
