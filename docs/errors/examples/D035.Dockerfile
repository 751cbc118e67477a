FROM scratch
RUN --mount=type=cash,target=/c true
