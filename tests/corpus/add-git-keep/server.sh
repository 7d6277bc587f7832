git init -q -b main work
cd work
mkdir sub
echo one >file
printf "#!/bin/sh\n" >sub/script
chmod 755 sub/script
ln -s ../file sub/link
git add .
git commit -q -m one
git tag light
git tag -a -m annotated v1
git branch feature/x
echo two >file
git commit -q -a -m two
cd ..
git clone -q --mirror work x.git
rm -rf work

