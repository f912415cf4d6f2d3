// What the parsers use of DeepStream's nvdsinfer.h and nvdsinfer_custom_impl.h, declared from NVIDIA's documentation, so
// that their logic runs where there is no DeepStream. On a device they are compiled against the real headers.
#pragma once

#include <vector>

enum NvDsInferDataType
{
    FLOAT = 0,
    HALF = 1,
    INT8 = 2,
    INT32 = 3,
};

struct NvDsInferDims
{
    unsigned int numDims;
    unsigned int d[8];
    unsigned int numElements;
};

struct NvDsInferLayerInfo
{
    NvDsInferDataType dataType;
    NvDsInferDims inferDims;
    int bindingIndex;
    char const* layerName;
    void* buffer;
    int isInput;
};

struct NvDsInferNetworkInfo
{
    unsigned int width;
    unsigned int height;
    unsigned int channels;
};

struct NvDsInferObjectDetectionInfo
{
    unsigned int classId;
    float left;
    float top;
    float width;
    float height;
    float detectionConfidence;
};

struct NvDsInferParseDetectionParams
{
    unsigned int numClassesConfigured;
    std::vector<float> perClassPreclusterThreshold;
};

using NvDsInferParseCustomFunc = bool (*)(std::vector<NvDsInferLayerInfo> const&, NvDsInferNetworkInfo const&,
    NvDsInferParseDetectionParams const&, std::vector<NvDsInferObjectDetectionInfo>&);

using NvDsInferSemSegmentationParseCustomFunc = bool (*)(std::vector<NvDsInferLayerInfo> const&,
    NvDsInferNetworkInfo const&, float, unsigned int, int*, float*&);

#define CHECK_CUSTOM_PARSE_FUNC_PROTOTYPE(name) static_assert(NvDsInferParseCustomFunc{name} != nullptr);
#define CHECK_CUSTOM_SEM_SEGMENTATION_PARSE_FUNC_PROTOTYPE(name)                                                       \
    static_assert(NvDsInferSemSegmentationParseCustomFunc{name} != nullptr);
