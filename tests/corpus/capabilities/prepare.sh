cp program with-capability
cp program with-attribute
setcap cap_net_raw+ep with-capability
setfattr -n user.note -v kept with-attribute
touch -d '2019-05-06 07:08:09' with-*
tar --xattrs --xattrs-include='*' --sort=name --format=pax \
    --pax-option=delete=atime,delete=ctime,exthdr.name=%d/PaxHeaders/%f \
    -cf attributes.tar with-attribute with-capability
