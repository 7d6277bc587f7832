ARG REGISTRY=docker.io
ARG IMAGE=alpine
ARG TAG=3.22
FROM ${REGISTRY}/library/${IMAGE}:${TAG} AS base
ARG TAG
ARG USER_ID=1000
ARG GROUP_ID=${USER_ID}
ARG EMPTY=
ARG QUOTED="a b c"
ENV TAG=${TAG:-none} HOME_DIR=/home/${USER_ID:+user}
RUN addgroup -g $GROUP_ID app && adduser -D -u $USER_ID -G app app
USER $USER_ID:$GROUP_ID
