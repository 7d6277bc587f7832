# escape=`
FROM mcr.microsoft.com/windows/servercore:ltsc2025
SHELL ["powershell", "-Command", "$ErrorActionPreference = 'Stop';"]
WORKDIR C:\\app
COPY app.exe C:\\app\\
RUN Get-ChildItem `
    -Path C:\\app
ENTRYPOINT ["C:\\\\app\\\\app.exe"]
