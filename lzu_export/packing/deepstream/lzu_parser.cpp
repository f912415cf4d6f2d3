// Parsers of a bundle's outputs for Gst-nvinfer, compiled on the device against DeepStream's own headers.
//
// Objects and class maps equal those of lzu_export.runtime to the bit. The settings of the bundle are in lzu_bundle.h,
// which `lzu-export pack` writes. Compile with -ffp-contract=off: a fused multiply-add rounds differently.

#include "lzu_bundle.h"
#include "nvdsinfer_custom_impl.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <iostream>
#include <vector>

namespace
{

using Layers = std::vector<NvDsInferLayerInfo>;

// The output of this name and type with these dimensions, the batch left out; nullptr and a sentence if there is none.
// A dimension of 0 stands for any.
NvDsInferLayerInfo const* find(
    Layers const& layers, char const* name, NvDsInferDataType type, std::vector<unsigned> const& dims)
{
    for (NvDsInferLayerInfo const& layer : layers)
    {
        if (layer.layerName == nullptr || std::strcmp(layer.layerName, name) != 0)
        {
            continue;
        }
        bool fits = layer.dataType == type && layer.inferDims.numDims == dims.size() && layer.buffer != nullptr;
        for (size_t i = 0; fits && i < dims.size(); ++i)
        {
            fits = dims[i] == 0 || layer.inferDims.d[i] == dims[i];
        }
        if (!fits)
        {
            std::cerr << "lzu: the output " << name << " has another type or shape than the bundle's; build the engine "
                      << "from the packed ONNX file" << std::endl;
        }
        return fits ? &layer : nullptr;
    }
    std::cerr << "lzu: the engine has no output " << name << "; build it from the packed ONNX file" << std::endl;
    return nullptr;
}

bool isBundleSize(NvDsInferNetworkInfo const& network)
{
    if (network.width == LZU_WIDTH && network.height == LZU_HEIGHT)
    {
        return true;
    }
    std::cerr << "lzu: infer-dims are 3;" << network.height << ";" << network.width << " but the bundle takes 3;"
              << LZU_HEIGHT << ";" << LZU_WIDTH << "; use the packed configuration" << std::endl;
    return false;
}

#if defined(LZU_DETECTOR)

struct Box
{
    float left;
    float top;
    float right;
    float bottom;

    float area() const
    {
        return (right - left) * (bottom - top);
    }

    bool isSound() const
    {
        return std::isfinite(left) && std::isfinite(top) && std::isfinite(right) && std::isfinite(bottom)
               && right > left && bottom > top;
    }
};

// Whether a kept box suppresses another one; evaluated in this order in float32.
bool suppresses(Box const& kept, Box const& other)
{
    float const width = std::max(std::min(kept.right, other.right) - std::max(kept.left, other.left), 0.0F);
    float const height = std::max(std::min(kept.bottom, other.bottom) - std::max(kept.top, other.top), 0.0F);
    float const shared = width * height;
    return shared > LZU_IOU_THRESHOLD * (kept.area() + other.area() - shared);
}

struct Candidates
{
    Box const* boxes;
    float const* scores;
    int32_t const* labels;
    int count;
};

// The indices of sound candidates above the bundle's threshold and their class's in the configuration, best first.
std::vector<int> inOrder(Candidates const& all, NvDsInferParseDetectionParams const& params)
{
    std::vector<int> order;
    for (int i = 0; i < all.count; ++i)
    {
        auto const label = static_cast<unsigned>(all.labels[i]);
        bool const isKnown
            = label < params.numClassesConfigured && label < params.perClassPreclusterThreshold.size();
        if (isKnown && std::isfinite(all.scores[i]) && all.scores[i] > LZU_SCORE_THRESHOLD
            && all.scores[i] >= params.perClassPreclusterThreshold[label] && all.boxes[i].isSound())
        {
            order.push_back(i);
        }
    }
    std::stable_sort(
        order.begin(), order.end(), [&all](int a, int b) { return all.scores[a] > all.scores[b]; });
    return order;
}

std::vector<int> suppress(Candidates const& all, std::vector<int> const& order)
{
    std::vector<int> kept;
    for (int const own : order)
    {
        if (kept.size() >= LZU_MAX_DETECTIONS)
        {
            break;
        }
        bool const isSuppressed = std::any_of(kept.begin(), kept.end(), [&all, own](int before) {
            return all.labels[before] == all.labels[own] && suppresses(all.boxes[before], all.boxes[own]);
        });
        if (!isSuppressed)
        {
            kept.push_back(own);
        }
    }
    return kept;
}

#endif

} // namespace

#if defined(LZU_DETECTOR)

extern "C" bool NvDsInferParseLzuBoxes(std::vector<NvDsInferLayerInfo> const& outputLayersInfo,
    NvDsInferNetworkInfo const& networkInfo, NvDsInferParseDetectionParams const& detectionParams,
    std::vector<NvDsInferObjectDetectionInfo>& objectList)
{
    NvDsInferLayerInfo const* const boxes = find(outputLayersInfo, "boxes", FLOAT, {0, 4});
    NvDsInferLayerInfo const* const scores = find(outputLayersInfo, "scores", FLOAT, {0});
    NvDsInferLayerInfo const* const labels = find(outputLayersInfo, "labels", INT32, {0});
    if (boxes == nullptr || scores == nullptr || labels == nullptr || !isBundleSize(networkInfo))
    {
        return false;
    }
    unsigned const count = scores->inferDims.d[0];
    if (boxes->inferDims.d[0] != count || labels->inferDims.d[0] != count)
    {
        std::cerr << "lzu: boxes, scores and labels differ in their number of candidates" << std::endl;
        return false;
    }
    Candidates const all{static_cast<Box const*>(boxes->buffer), static_cast<float const*>(scores->buffer),
        static_cast<int32_t const*>(labels->buffer), static_cast<int>(count)};
    for (int const i : suppress(all, inOrder(all, detectionParams)))
    {
        float const left = std::clamp(all.boxes[i].left, LZU_VIEW_LEFT, LZU_VIEW_RIGHT);
        float const top = std::clamp(all.boxes[i].top, LZU_VIEW_TOP, LZU_VIEW_BOTTOM);
        NvDsInferObjectDetectionInfo object{};
        object.classId = static_cast<unsigned>(all.labels[i]);
        object.left = left;
        object.top = top;
        object.width = std::clamp(all.boxes[i].right, LZU_VIEW_LEFT, LZU_VIEW_RIGHT) - left;
        object.height = std::clamp(all.boxes[i].bottom, LZU_VIEW_TOP, LZU_VIEW_BOTTOM) - top;
        object.detectionConfidence = all.scores[i];
        objectList.push_back(object);
    }
    return true;
}

CHECK_CUSTOM_PARSE_FUNC_PROTOTYPE(NvDsInferParseLzuBoxes)

#else

extern "C" bool NvDsInferParseLzuLabels(std::vector<NvDsInferLayerInfo> const& outputLayersInfo,
    NvDsInferNetworkInfo const& networkInfo, float /*segmentationThreshold*/, unsigned int numClasses,
    int* classificationMap, float*& classProbabilityMap)
{
    constexpr unsigned kROWS = LZU_VIEW_BOTTOM - LZU_VIEW_TOP;
    constexpr unsigned kCOLUMNS = LZU_VIEW_RIGHT - LZU_VIEW_LEFT;
    NvDsInferLayerInfo const* const labels = find(outputLayersInfo, "labels", INT32, {kROWS, kCOLUMNS});
    if (labels == nullptr || !isBundleSize(networkInfo))
    {
        return false;
    }
    auto const* const values = static_cast<int32_t const*>(labels->buffer);
    std::fill_n(classificationMap, static_cast<size_t>(LZU_WIDTH) * LZU_HEIGHT, -1);
    for (unsigned y = 0; y < kROWS; ++y)
    {
        int32_t const* const row = values + static_cast<size_t>(y) * kCOLUMNS;
        int* const line = classificationMap + (LZU_VIEW_TOP + y) * static_cast<size_t>(LZU_WIDTH) + LZU_VIEW_LEFT;
        for (unsigned x = 0; x < kCOLUMNS; ++x)
        {
            line[x] = row[x] >= 0 && static_cast<unsigned>(row[x]) < numClasses ? row[x] : -1;
        }
    }
    classProbabilityMap = nullptr;
    return true;
}

CHECK_CUSTOM_SEM_SEGMENTATION_PARSE_FUNC_PROTOTYPE(NvDsInferParseLzuLabels)

#endif
