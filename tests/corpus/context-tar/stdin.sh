tar -cz --sort=name --owner=5 --group=6 --numeric-owner .
