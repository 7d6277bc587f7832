FROM alpine
RUN true
CMD ["sh"]