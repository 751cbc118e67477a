FROM scratch
ADD https://example.com/a.git?brunch=main /src
