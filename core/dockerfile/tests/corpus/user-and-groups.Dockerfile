FROM alpine
USER 1000
USER 1000:1000
USER app:app
USER "quoted"
RUN --mount=type=cache,uid=1000,gid=1000,mode=0755,target=/cache touch /cache/x
