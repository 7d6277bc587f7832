ARG DISTRO=debian
FROM debian:13 AS base-debian
RUN apt-get update
FROM alpine:3.22 AS base-alpine
RUN apk update
FROM base-${DISTRO} AS final
ARG DISTRO
LABEL distro=$DISTRO
