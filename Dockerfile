# The two images of Shopkeeper, each one static program that runs as nobody in particular:
#
#   docker build --target server   --build-arg VERSION=0.1.0 --tag shopkeeper-server:0.1.0   .
#   docker build --target operator --build-arg VERSION=0.1.0 --tag shopkeeper-operator:0.1.0 .

ARG GO_IMAGE=golang:1.26

FROM ${GO_IMAGE} AS source
ENV CGO_ENABLED=0 GOFLAGS="-trimpath -buildvcs=false"
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY . .
# What every image needs besides its program: a name for its user, and whom to trust in TLS.
RUN mkdir -p /root-folder/etc/ssl/certs /home-folder \
 && echo 'shopkeeper:x:65532:65532::/home/shopkeeper:/sbin/nologin' >/root-folder/etc/passwd \
 && echo 'shopkeeper:x:65532:' >/root-folder/etc/group \
 && cp /etc/ssl/certs/ca-certificates.crt /root-folder/etc/ssl/certs/

FROM source AS build-server
ARG VERSION=dev
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    go build -ldflags "-s -w -X main.version=${VERSION}" -o /root-folder/shopkeeper-server ./server

FROM source AS build-operator
ARG VERSION=dev
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    go build -ldflags "-s -w -X main.version=${VERSION}" -o /root-folder/shopkeeper-operator ./controllers

FROM scratch AS base
ARG VERSION=dev
LABEL org.opencontainers.image.vendor="Shopkeeper" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="https://github.com/shopkeeper-dev/shopkeeper" \
      org.opencontainers.image.version="${VERSION}"
# The one folder that may be written where the root is read-only: mount a volume here.
COPY --from=source --chown=65532:65532 /home-folder /home/shopkeeper
WORKDIR /home/shopkeeper
USER 65532:65532

FROM base AS operator
LABEL org.opencontainers.image.title="shopkeeper-operator" \
      org.opencontainers.image.description="Runs online shops on Kubernetes from Shop resources"
COPY --from=build-operator /root-folder /
EXPOSE 8080 8081
ENTRYPOINT ["/shopkeeper-operator"]

FROM base AS server
LABEL org.opencontainers.image.title="shopkeeper-server" \
      org.opencontainers.image.description="The shop server: REST API, notifications and metrics"
COPY --from=build-server /root-folder /
EXPOSE 8000 8001 9090
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["/shopkeeper-server", "healthcheck"]
ENTRYPOINT ["/shopkeeper-server"]
