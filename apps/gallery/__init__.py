"""A gallery keeps people as vectors of their pictures and finds who looks most like another picture.

gallery = open_gallery("people.gallery", ModelMark("pedestrians-reid", sha256, 128))
gallery.enrol("Ada", [NewPicture(vector, camera="1")])
gallery.search(vector, top=5)
"""

from apps.gallery.store import Gallery, GalleryError, Hit, Kept, ModelMark, NewPicture, Person, Quota, open_gallery

__all__ = ["Gallery", "GalleryError", "Hit", "Kept", "ModelMark", "NewPicture", "Person", "Quota", "open_gallery"]
