long=a/directory-with-a-rather-long-name/another-directory-with-a-rather-long-name/yet-another-directory-with-a-rather-long-name
name=a-file-whose-name-alone-is-longer-than-the-hundred-bytes-that-the-oldest-tar-header-leaves-for-all-of-a-path.txt
mkdir -p $long
echo 1 > $long/$name
echo 2 > $name
ln -s $long/$name link
ln -s ../../../../$name $long/back
