FROM golang:1 AS build
RUN go build -o /app
FROM scratch
COPY --from=biuld /app /
