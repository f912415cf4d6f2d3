// The parsers behind functions of plain C, for ctypes. Gst-nvinfer calls them in the same way, once a frame.
#include "lzu_parser.cpp"

namespace
{

NvDsInferLayerInfo layer(char const* name, NvDsInferDataType type, std::vector<unsigned> const& dims, void const* data)
{
    NvDsInferLayerInfo made{};
    made.dataType = type;
    made.layerName = name;
    made.buffer = const_cast<void*>(data);
    made.inferDims.numDims = static_cast<unsigned>(dims.size());
    made.inferDims.numElements = 1;
    for (size_t i = 0; i < dims.size(); ++i)
    {
        made.inferDims.d[i] = dims[i];
        made.inferDims.numElements *= dims[i];
    }
    return made;
}

} // namespace

#if defined(LZU_DETECTOR)

// Writes x, y, width, height, score and label of each object; returns their number, or -1 where the parser refuses.
extern "C" int parse_boxes(float const* boxes, float const* scores, int32_t const* labels, unsigned count,
    unsigned labelCount, unsigned width, unsigned height, float const* thresholds, unsigned classes, float* objects)
{
    std::vector<NvDsInferLayerInfo> const layers{layer("labels", INT32, {labelCount}, labels),
        layer("boxes", FLOAT, {count, 4}, boxes), layer("scores", FLOAT, {count}, scores)};
    NvDsInferParseDetectionParams params{};
    params.numClassesConfigured = classes;
    params.perClassPreclusterThreshold.assign(thresholds, thresholds + classes);
    std::vector<NvDsInferObjectDetectionInfo> found;
    if (!NvDsInferParseLzuBoxes(layers, {width, height, 3}, params, found))
    {
        return -1;
    }
    for (NvDsInferObjectDetectionInfo const& each : found)
    {
        for (float const value : {each.left, each.top, each.width, each.height, each.detectionConfidence,
                 static_cast<float>(each.classId)})
        {
            *objects++ = value;
        }
    }
    return static_cast<int>(found.size());
}

#else

extern "C" int parse_labels(
    int32_t const* labels, unsigned rows, unsigned columns, unsigned width, unsigned height, unsigned classes, int* map)
{
    float* probabilities = reinterpret_cast<float*>(map);
    std::vector<NvDsInferLayerInfo> const layers{layer("labels", INT32, {rows, columns}, labels)};
    bool const parsed = NvDsInferParseLzuLabels(layers, {width, height, 3}, 0.0F, classes, map, probabilities);
    return parsed && probabilities == nullptr ? 0 : -1;
}

#endif
