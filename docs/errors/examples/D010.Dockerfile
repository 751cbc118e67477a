# syntax=example/frontend
FROM scratch
COPY D010.Dockerfile /
