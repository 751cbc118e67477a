FROM scratch
ARG SIZE=many
RUN --mount=type=tmpfs,target=/t,size=$SIZE true
