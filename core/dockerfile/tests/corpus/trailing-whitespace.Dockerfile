FROM alpine   
RUN echo a \  
  b	
WORKDIR /x 
USER a  
EXPOSE  80   443 
