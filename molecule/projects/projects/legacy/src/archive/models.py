from django.db import models


class Document(models.Model):
    file = models.FileField(upload_to="documents/%Y")
    kind = models.CharField(max_length=100)
    checksum = models.CharField(max_length=16)

    def __str__(self):
        return self.file.name
