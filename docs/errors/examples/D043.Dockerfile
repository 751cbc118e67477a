FROM scratch
ARG V=1
ENV A=${V#'\'}
