FROM scratch AS build
RUN --mount=type=bind,target=/src,z make -C /src
FROM scratch
COPY D048.Dockerfile /
