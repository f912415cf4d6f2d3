"""Object classes of the detection task, and labels of the class map."""

# Index = class number in `Frame.classes`; COCO category ids are this plus one.
CLASSES = ("car", "truck", "bus", "pedestrian", "bicycle", "traffic_sign")

# Index = value in `Frame.labels`: the object classes, then labels that only the class map has.
LABELS = (*CLASSES, "road", "sidewalk", "building", "vegetation", "sky", "pole", "clutter")

CAR, TRUCK, BUS, PEDESTRIAN, BICYCLE, TRAFFIC_SIGN = range(len(CLASSES))
ROAD, SIDEWALK, BUILDING, VEGETATION, SKY, POLE, CLUTTER = range(len(CLASSES), len(LABELS))
