// Recorded outputs in place of an engine, so that the steps around it can be compared without one.
//
// --engine names a folder. Run i (from 0) reads its outputs from FOLDER/i.NAME.bin and writes its inputs there, both as
// the tensors' bytes. Their types and shapes are those of the manifest.
#include "session.h"

#include "files.h"
#include "host_memory.h"

namespace lzu::sample
{

namespace
{

class RecordedSession final : public HostSession
{
public:
    explicit RecordedSession(EngineFile const& engine)
        : mFolder(engine.path)
    {
        bind(engine.inputs, mInputs);
        bind(engine.outputs, mOutputs);
    }

    void run() override
    {
        std::string const place = mFolder + "/" + std::to_string(mNumber++) + ".";
        for (Bound const& each : mInputs)
        {
            writeFile(place + each.tensor.name + ".bin", each.memory.get(), each.tensor.bytes());
        }
        for (Bound const& each : mOutputs)
        {
            std::vector<char> const content = readFile(place + each.tensor.name + ".bin");
            if (content.size() != each.tensor.bytes())
            {
                throw Error(place + each.tensor.name + ".bin has " + std::to_string(content.size()) + " bytes, not "
                    + std::to_string(each.tensor.bytes()) + "; record it with this bundle");
            }
            upload(each.memory.get(), content.data(), content.size());
        }
    }

private:
    void bind(std::vector<Tensor> const& tensors, std::vector<Bound>& all)
    {
        for (Tensor const& each : tensors)
        {
            all.push_back({each, allocate(each.bytes())});
        }
    }

    std::string mFolder;
    int32_t mNumber = 0;
};

} // namespace

std::string sessionTarget()
{
    return "onnxruntime";
}

std::unique_ptr<Session> openSession(EngineFile const& engine, Manifest const& /*manifest*/)
{
    return std::make_unique<RecordedSession>(engine);
}

} // namespace lzu::sample
