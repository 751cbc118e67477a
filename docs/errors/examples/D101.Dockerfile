FROM scratch AS builder
FROM scratch AS runtime
