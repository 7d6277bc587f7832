# syntax=docker/dockerfile:1
FROM --platform=$BUILDPLATFORM tonistiigi/xx AS xx
FROM --platform=$BUILDPLATFORM alpine AS build
COPY --from=xx / /
RUN apk add clang lld
ARG TARGETPLATFORM
RUN xx-apk add --no-cache musl-dev gcc
WORKDIR /work
COPY hello.c .
RUN xx-clang -o hello hello.c && xx-verify hello
FROM scratch AS binaries
COPY --link --from=build /work/hello /
