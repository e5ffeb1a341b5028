# Linktide as an image: the page by Node, the program by Rust, and what it needs to run.
#
#   docker build -t linktide .
#
# Versions are those of rust-toolchain.toml, Cargo.lock and package-lock.json; paths of the build do not get into the
# program. For images that are the same to the byte, give the bases by digest (--build-arg DEBIAN=debian@sha256:…).
ARG NODE=node:22-bookworm-slim
ARG RUST=rust:1.95.0-slim-bookworm
ARG DEBIAN=debian:bookworm-slim

FROM ${NODE} AS page
WORKDIR /page
COPY query/dashboard/package.json query/dashboard/package-lock.json ./
RUN npm ci --ignore-scripts
COPY query/dashboard/ ./
RUN npm run build

FROM ${RUST} AS build
# What the distribution has of these changes nothing in the program but librdkafka's and OpenSSL's security.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends build-essential cmake libssl-dev pkg-config zlib1g-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /linktide
COPY . .
COPY --from=page /page/dist/ query/dashboard/dist/
ENV CARGO_INCREMENTAL=0 \
    RUSTFLAGS="--remap-path-prefix=/linktide=. --remap-path-prefix=/usr/local/cargo=cargo"
RUN cargo build --release --locked --bin linktide \
    && install -D --strip target/release/linktide /out/linktide

FROM ${DEBIAN}
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates libssl3 zlib1g \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /out/linktide /usr/local/bin/linktide
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/usr/local/bin/linktide"]
CMD ["--help"]
