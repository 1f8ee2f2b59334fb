# hydrant in an image of its own. docker-compose.yml shows it at work.

FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
COPY . .
# The caches outlive the build, so only what has changed is compiled again; the image has neither.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/src/target,sharing=locked \
    cargo build --locked --release --bin hydrant && \
    cp target/release/hydrant /usr/local/bin/hydrant

FROM debian:bookworm-slim
# The certificates of the authorities by which AWS and MySQL servers are known.
RUN apt-get update && \
    apt-get install --yes --no-install-recommends ca-certificates && \
    rm -rf /var/lib/apt/lists/* && \
    useradd --uid 10001 --home-dir /var/lib/hydrant --create-home --shell /usr/sbin/nologin hydrant
COPY --from=build /usr/local/bin/hydrant /usr/local/bin/hydrant
# A number, so that Kubernetes can tell that it is not root. Checkpoints and objects go to the home, for
# which a volume should be given.
USER 10001:10001
WORKDIR /var/lib/hydrant
ENTRYPOINT ["hydrant"]
CMD ["--help"]
