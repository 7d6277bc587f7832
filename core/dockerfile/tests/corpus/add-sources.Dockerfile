FROM alpine
ADD rootfs.tar.gz /
ADD --checksum=sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 https://example.com/empty /empty
ADD --keep-git-dir=true https://github.com/moby/buildkit.git#v0.10.1 /buildkit
ADD --chown=1:1 --chmod=600 --unpack=false archive.tar /archive.tar
ADD ["file with spaces.txt", "/dest dir/"]
