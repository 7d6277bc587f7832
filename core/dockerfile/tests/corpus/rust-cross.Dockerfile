# syntax=docker/dockerfile:1.20
FROM --platform=$BUILDPLATFORM rust:1.90 AS chef
ARG TARGETPLATFORM
RUN case "$TARGETPLATFORM" in \
      linux/amd64) echo x86_64-unknown-linux-musl ;; \
      linux/arm64) echo aarch64-unknown-linux-musl ;; \
      *) echo "unsupported: $TARGETPLATFORM" >&2; exit 1 ;; \
    esac > /target
RUN rustup target add "$(cat /target)"
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY src src
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/src/target,id=target-$TARGETPLATFORM \
    cargo build --release --target "$(cat /target)" \
 && cp "target/$(cat /target)/release/app" /app

FROM scratch
COPY --from=chef --chmod=0755 /app /app
ENTRYPOINT ["/app"]
