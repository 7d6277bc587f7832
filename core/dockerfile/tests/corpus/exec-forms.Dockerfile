FROM alpine
RUN ["/bin/sh", "-c", "echo hello"]
RUN [ "apk" , "add" , "curl" ]
CMD []
ENTRYPOINT ["tini", "--", "/entrypoint.sh"]
CMD ["--flag=\"quoted\"", "caf\u00e9", "tab\there"]
