FROM scratch
RUN --mount=type=cache,targte=/c true
