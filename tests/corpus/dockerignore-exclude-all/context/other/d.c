other/d.c
