git init -q -b main inner
cd inner
echo inner >file
git add .
git commit -q -m inner
cd ..
git clone -q --mirror inner inner.git
git init -q -b main outer
cd outer
git submodule --quiet add "git://$GIT_TEST/inner.git" module
git commit -q -m outer
cd ..
git clone -q --mirror outer x.git
rm -rf inner outer
