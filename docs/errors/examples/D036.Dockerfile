FROM scratch
RUN --mount="type=bind,target=\"/m" true
