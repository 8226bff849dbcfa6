# The tidemill command and the default topology, as one small image.

FROM rust:1.95-slim-bookworm AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ make \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --package tidemill \
    && cp target/release/tidemill /usr/local/bin/tidemill

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends curl \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --home-dir /var/lib/tidemill --create-home tidemill
COPY --from=build /usr/local/bin/tidemill /usr/local/bin/tidemill
COPY --from=build /src/topology.toml /etc/tidemill/topology.toml
ENV TIDEMILL_TOPOLOGY=/etc/tidemill/topology.toml
USER tidemill
WORKDIR /var/lib/tidemill
# Local stores and, with the embedded broker, the records themselves.
VOLUME /var/lib/tidemill
EXPOSE 9464
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
    CMD ["curl", "--silent", "--fail", "http://127.0.0.1:9464/livez"]
ENTRYPOINT ["tidemill"]
CMD ["run", "--set", "pipeline.http_address=0.0.0.0:9464"]
