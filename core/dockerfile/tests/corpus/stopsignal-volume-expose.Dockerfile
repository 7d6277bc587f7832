FROM debian
EXPOSE 80 443/tcp 5000-5010/udp
VOLUME /data /logs
VOLUME ["/var/lib/with space", "/x"]
STOPSIGNAL SIGQUIT
WORKDIR /a
WORKDIR b
WORKDIR c
RUN pwd
