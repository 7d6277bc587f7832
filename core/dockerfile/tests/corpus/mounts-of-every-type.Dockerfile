FROM golang:1.25 AS tools
FROM debian:13
RUN --mount=type=bind,from=tools,source=/usr/local/go,target=/usr/local/go \
    --mount=type=bind,target=/ctx,rw \
    --mount=type=cache,target=/var/cache/apt,sharing=locked \
    --mount=type=tmpfs,target=/tmp,size=64m \
    apt-get update
RUN --network=none true
RUN --security=insecure mount -t tmpfs none /mnt
