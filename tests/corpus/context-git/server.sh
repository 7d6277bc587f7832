git init -q -b main work
cd work
mkdir sub
printf 'FROM scratch\nCOPY . /all/\nCOPY script /\n' >sub/Dockerfile
echo ignored >sub/.dockerignore
echo ignored >sub/ignored
printf '#!/bin/sh\n' >sub/script
chmod 755 sub/script
ln -s script sub/link
git add .
git commit -q -m one
cd ..
git clone -q --mirror work x.git
rm -rf work
