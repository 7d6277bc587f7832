# syntax=docker/dockerfile:1

# base is shared by all
FROM alpine AS base

# lint checks the sources
FROM base AS lint
COPY . .
RUN ./lint.sh

# test runs the tests
FROM base AS test
COPY . .
# COVERAGE turns coverage on
ARG COVERAGE=0
RUN ./test.sh

# release is what ships
FROM base AS release
COPY --from=test /out /
