FROM scratch
RUN --device=vendor.com/gpu=0,optional true
