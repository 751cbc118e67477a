FROM scratch
ENV A=${VERSION:?"say which"}
