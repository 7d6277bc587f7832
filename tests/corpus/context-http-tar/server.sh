mkdir context
printf 'FROM scratch\nCOPY . /\n' >context/Dockerfile
echo file >context/file
touch -d '2019-01-01' context/file context/Dockerfile context
tar -C context -cJf context.tar.xz --owner=0 --group=0 --sort=name .
